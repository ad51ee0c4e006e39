package limit

var OpenFiles = openFiles
