"""Static web pages of the leaderboards, built from the boards and their entries alone."""

from pairbench.site.build import SiteSummary, build_site, serve_site

__all__ = ["SiteSummary", "build_site", "serve_site"]
