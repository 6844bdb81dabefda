"""Which task a prompt is: features, the trained model, how it is trained and scored."""
