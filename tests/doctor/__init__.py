"""Tests of `videodock doctor`."""
