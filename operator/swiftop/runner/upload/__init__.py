"""The program ``upload``: a dataset file checked, uploaded and compared with what the hub has."""
