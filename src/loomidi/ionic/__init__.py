"""Deciding and acting: plans, guards, approvals, drivers."""
