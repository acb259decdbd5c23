"""The dashboard as a page of its own; needs the packages of the extra ``notebook``."""
