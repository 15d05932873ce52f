"""Deciding and acting: plans, guards, approvals, drivers.

`decide` turns a finding into an approved plan and never imports `act`, which carries approved plans out. What both
need (plan documents, approvals, errors) lies beside them. Called by `services`, `fold`, `insight` and `conductor`.
"""
