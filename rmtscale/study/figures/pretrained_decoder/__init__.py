"""Memory in a pretrained decoder: recipes, claims, drawing and page."""
