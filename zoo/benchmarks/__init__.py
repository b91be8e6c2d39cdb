"""Speed, measured side by side with the same mathematics done elsewhere; see `zoo.commands.benchmark`."""
