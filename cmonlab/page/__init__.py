"""The dashboard as a web page; needs the packages of the extra ``notebook``."""
