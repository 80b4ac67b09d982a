"""A look at an edit before its search: is it worth the time?"""
