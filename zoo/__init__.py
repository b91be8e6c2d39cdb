"""The model zoo. Free of imports: `zoo.scratch` and the light commands are used without torch."""
