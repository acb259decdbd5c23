"""Docker: the client, cmonlab's own engine, images, containers, and their removal."""
