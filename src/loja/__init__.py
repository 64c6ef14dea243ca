"""Loja: a small online shop that uses every part of Trilho."""
