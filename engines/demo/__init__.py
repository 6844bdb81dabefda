"""The demo pair: a toy language, a draft and a target model trained on it in minutes on a CPU."""
