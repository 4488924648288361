"""Speed of every operation, against floors measured in the same run. ``python -m bench`` runs all benches."""
