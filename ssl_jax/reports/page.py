def write(measured, place):
    pass
