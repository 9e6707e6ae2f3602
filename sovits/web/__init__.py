"""Programs and pages convert by HTTP: a thin face over the library, and no signal code."""
