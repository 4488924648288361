"""A synthetic brain and the microscope that looks at it."""
