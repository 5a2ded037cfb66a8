module standing

go 1.22
