"""What ``asv publish`` adds to asv's site: its libraries, and the page "Peers and limit"."""
