"""The library's hot paths, mended: each patch says what it stands for, and a self-test guards them."""
