"""Groups of incidents: one cause, one alert."""
