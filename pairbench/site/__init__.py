"""The leaderboard as static pages, made of the boards and their entries alone."""

from pairbench.site.build import Built, build_site, serve_site

__all__ = ["Built", "build_site", "serve_site"]
