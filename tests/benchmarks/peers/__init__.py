"""What a user would look at packets with instead, beside cmonlab, on the same traffic."""
