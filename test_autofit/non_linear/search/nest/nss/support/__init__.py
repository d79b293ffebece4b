"""What the tests of af.NSS share: problems of known answers, analyses that watch, scripts to kill and to stop."""
