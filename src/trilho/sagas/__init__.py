"""Sagas: functions whose every step, wait, timer and undo is a row, so that they go on wherever they were."""
