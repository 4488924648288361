"""Tiles to one volume: blended, evened out, written with its pyramid."""
