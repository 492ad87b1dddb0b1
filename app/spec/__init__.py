"""What Juxta tells other programs about itself: the HTTP API as OpenAPI 3.1, the topics as AsyncAPI 3."""
