-- wrk: POST one file; arguments after "--": FILE raw|multipart
function init(args)
  local file = assert(io.open(args[1], "rb"))
  local body = file:read("*a")
  file:close()
  wrk.method = "POST"
  if args[2] == "multipart" then
    wrk.headers["Content-Type"] = "multipart/form-data; boundary=wrk"
    wrk.body = '--wrk\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
      .. "Content-Type: image/jpeg\r\n\r\n" .. body .. "\r\n--wrk--\r\n"
  else
    wrk.headers["Content-Type"] = "image/jpeg"
    wrk.body = body
  end
end
