"""The whole field on one chart."""
