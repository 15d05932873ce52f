"""What the fast lane (`services.fastlane`) is made of: whom it knows, what stands, receipts, thresholds."""
