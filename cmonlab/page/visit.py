"""What the kernel of a visit runs: the dashboard of the agent that environment variables name."""

from __future__ import annotations

import html
import json
import os

from cmonlab.errors import CmonlabError

HOST_VARIABLE, THEME_VARIABLE = "CMONLAB_DASHBOARD_HOST", "CMONLAB_DASHBOARD_THEME"
CONTAINERS_VARIABLE = "CMONLAB_DASHBOARD_CONTAINERS"  # JSON: a list of names, or null for all


def show() -> None:
    """Connect to the agent and display its dashboard, or an error message."""
    from IPython.display import HTML, display

    import cmonlab as cm

    try:
        agent = cm.agent.connect(os.environ.get(HOST_VARIABLE, ""))
        containers = json.loads(os.environ.get(CONTAINERS_VARIABLE, "null"))
        display(cm.dashboard(agent, theme=os.environ.get(THEME_VARIABLE, "light"), containers=containers))
    except CmonlabError as error:
        display(HTML(_message(error)))


def _message(error: CmonlabError) -> str:
    rows = [("", error.what), ("why: ", error.why), ("fix: ", error.fix)]
    return "".join(f"<p>{word}{html.escape(text)}</p>" for word, text in rows if text)
