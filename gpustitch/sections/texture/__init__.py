"""Does what sections show change along a series, as thickness does not?"""
