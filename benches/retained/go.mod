module example.test/retained

go 1.19
