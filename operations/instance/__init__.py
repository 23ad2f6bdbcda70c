"""What an installation says about itself: the findings of its checks, and its versions."""
