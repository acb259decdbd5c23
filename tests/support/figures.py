"""What tests read from figures, and how colours are seen."""

import numpy as np


def caption_of(figure):
    """Return the caption where a figure draws it: as the legend's heading, or below a plot without a legend."""
    notes = [note.text for note in figure.layout.annotations if note.name == "caption"]
    return (figure.layout.legend.title.text or "") if figure.layout.showlegend else "".join(notes)


#: Linear RGB to the CIE XYZ colour space (IEC 61966-2-1).
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
