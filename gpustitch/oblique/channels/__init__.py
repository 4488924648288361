"""Several channels of one specimen: tiles placed alike, channels compared, one image of all."""
