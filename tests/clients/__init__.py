"""The environments in the hands of others."""
