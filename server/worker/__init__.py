"""Who works on finished uploads."""
