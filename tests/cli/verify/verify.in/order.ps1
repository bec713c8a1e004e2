$session = New-Object Microsoft.PowerShell.Commands.WebRequestSession
Invoke-WebRequest -UseBasicParsing -Uri "https://hooks.example.com/webhook" `
-Method "POST" `
-WebSession $session `
-ContentType "application/json" `
-Body "{`"order`": 42}"
