"""A figure as the bytes of a PNG."""

from io import BytesIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

OURS, BEFORE, QUIET = "#1f6f8b", "#c9c9c9", "#8a8a8a"


def png_of(figure: Figure) -> bytes:
    """Return the PNG, without the software's version: equal figures give equal bytes."""
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()
