#!/bin/sh
# Makes the certificates of the https test: an authority, and a server called localhost. They are good until 2126 and
# guard nothing, so the server's key lies here in the open. Needs openssl; run it in this folder.
set -e
openssl ecparam -name prime256v1 -genkey -noout -out root.key
openssl req -x509 -new -key root.key -sha256 -days 36500 -subj "/CN=Lattice test authority" -out root.pem
openssl ecparam -name prime256v1 -genkey -noout -out server.ec
openssl pkcs8 -topk8 -nocrypt -in server.ec -out server.key
openssl req -new -key server.key -subj "/CN=localhost" -out server.csr
printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' > server.ext
openssl x509 -req -in server.csr -CA root.pem -CAkey root.key -CAcreateserial -days 36500 -sha256 \
    -extfile server.ext -out server.pem
rm -f root.key root.srl server.ec server.csr server.ext
