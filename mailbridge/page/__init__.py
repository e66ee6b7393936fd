"""Pages: text set on A4 pages, in any direction and script, as PDF."""
