"""What people see: pages, their live stream, plots and reports. Reads are URLs and work without JavaScript."""

from app.web import live, pages

__all__ = ["live", "pages"]
