from .search import NSS as NSS
