"""The pages of the site, and what makes them."""
