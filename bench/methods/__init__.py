"""What each way to speculate gains per task on the demo pair."""
