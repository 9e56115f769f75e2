"""The algorithms by name, and their settings. Importing this loads none of them."""
