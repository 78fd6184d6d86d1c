"""The book: notebooks, results, how-to pages and API as a static site (`make book`)."""
