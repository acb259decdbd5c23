"""Docker: the client, an engine of our own, images, containers, and what removes them again."""
