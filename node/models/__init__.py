"""Vertical models: trained on a builder's shard, judged on a held-out part, published with attribution, served for
pay.
"""
