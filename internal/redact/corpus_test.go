package redact

import "strings"

// The tokens below were made up, and are put together from pieces so that no scanner takes them for
// real.
var (
	chance = "a8Fk2Lq9Zr4Tm7Xw1Bc6Vn3Hp5Dj0Gs8Ye2Ku4Q"
	ghp    = "gh" + "p_" + chance[:36]
	pat    = "github" + "_pat_" + "11ABCDEFG0" + chance + "_" + chance
	glpat  = "gl" + "pat-" + chance[:20]
	slack  = "xo" + "xb-123456789012-1234567890123-" + chance[:24]
	akia   = "AK" + "IAQ3EGRZ7XW2LM5NPT"
	awsKey = "wJ4lrXUtn/EMI7K+" + "bPx" + chance[:21]
	aiza   = "AI" + "zaSy" + chance[:33]
	openai = "sk" + "-proj-" + chance + chance
	stripe = "sk" + "_live_" + chance[:24]
	jwt    = "ey" + "JhbGciOiJIUzI1NiJ9." + "ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + chance
	npm    = "np" + "m_" + chance[:36]
	pypi   = "py" + "pi-AgEIcHlwaS5vcmc" + chance
	ocean  = "do" + "p_v1_" + strings.Repeat("0123456789abcdef", 4)
	face   = "h" + "f_" + strings.ReplaceAll(chance[:34], "0", "A")
	grid   = "S" + "G." + chance[:22] + "." + chance
	hook   = "https://hooks.slack" + ".com/services/" + "T012345/B012345/" + chance[:24]
	bot    = "123456789:" + "AA" + chance[:33]
	pem    = "-----BEGIN RSA PRIV" + "ATE KEY-----\nMIIEpAIBAAKCAQEA" + chance + "\n" + chance + "\n-----END RSA PRIV" + "ATE KEY-----"
	azure  = strings.Repeat(chance[:38]+"+/", 2) + "AbCdEf" + "=="
	age    = "AGE-SEC" + "RET-KEY-1" + strings.ToUpper(chance+chance[:19])
	notion = "nt" + "n_" + chance + chance[:8]
	brevo  = "xkey" + "sib-" + strings.Repeat("0123456789abcdef", 4) + "-" + chance[:16]
	uuid   = "0190f3c2-7b1e-7cc1-a6de-2f3f6b0f9a11"
)

// found are texts with what must not be left of them.
var found = []struct {
	text    string
	secrets []string
}{
	{`git push https://x-access-token:` + ghp + `@github.com/a/b`, []string{ghp}},
	{`echo ` + ghp, []string{ghp}},
	{`bash -c 'curl -H "Authorization: token ` + ghp + `" https://api.example.org'`, []string{ghp}},
	{"cat > .netrc <<EOF\nmachine h\nlogin me\npassword hunter2\nEOF", []string{"hunter2"}},
	{"cat <<'E' > c.env\nDB_PASSWORD=hunter2 # it's old\nSTRIPE=" + stripe + "\nE\n", []string{"hunter2", stripe}},
	{"cat <<E > c.yml\ndb:\n  password: hunter2\n  token: \"abc def\"\nE", []string{"hunter2", "abc def"}},
	{`export GITHUB_TOKEN=` + pat, []string{pat}},
	{`GITLAB_TOKEN="` + glpat + `" glab mr list`, []string{glpat}},
	{`A=1 API_KEY='k 1' make`, []string{"k 1"}},
	{`env NPM_TOKEN=` + npm + ` npm publish`, []string{npm}},
	{`docker run -e POSTGRES_PASSWORD=hunter2 -p 5432:5432 postgres`, []string{"hunter2"}},
	{`docker build --build-arg TOKEN=s3cr3tv .`, []string{"s3cr3tv"}},
	{`docker login -u me -p hunter2 registry.example.org`, []string{"hunter2"}},
	{`mytool --password hunter2 --verbose`, []string{"hunter2"}},
	{`mytool --password='hunter 2' --verbose`, []string{"hunter 2"}},
	{`mytool --password "hunter 2"`, []string{"hunter 2"}},
	{`mytool --password hun'ter 2'x y`, []string{`hun'ter 2'x`, "ter 2"}},
	{`mytool --token=` + chance, []string{chance}},
	{`mytool -token s3cr3tv`, []string{"s3cr3tv"}},
	{`mytool --client-secret $'s3cr3t\'v'`, []string{"s3cr3t"}},
	{`mytool --apiKey=s3cr3tv`, []string{"s3cr3tv"}},
	{`curl -u me:hunter2 https://example.org`, []string{"hunter2"}},
	{`curl -sSume:hunter2 https://example.org`, []string{"hunter2"}},
	{`curl --user "me:hunter2" https://example.org`, []string{"hunter2"}},
	{`curl --user=me:hunter2 https://example.org`, []string{"hunter2"}},
	{`curl -H 'X-API-Key: s3cr3tv' https://example.org`, []string{"s3cr3tv"}},
	{`curl -H "Authorization: Bearer s3cr3tv" https://example.org`, []string{"s3cr3tv"}},
	{`curl -H "Authorization: Basic bWU6aHVudGVyMg==" x`, []string{"bWU6aHVudGVyMg=="}},
	{`curl --header "Cookie: sid=s3cr3tv; theme=dark" x`, []string{"s3cr3tv"}},
	{`curl -H "PRIVATE-TOKEN: ` + glpat + `" x`, []string{glpat}},
	{`curl 'https://example.org/a?access_token=s3cr3tv&x=1'`, []string{"s3cr3tv"}},
	{`curl -d '{"user":"me","password":"hunter2"}' x`, []string{"hunter2"}},
	{`curl -d "{\"user\":\"me\",\"password\":\"hunter2\"}" x`, []string{"hunter2"}},
	{`curl -X POST ` + hook + ` -d x`, []string{"T012345/B012345/" + chance[:24]}},
	{`curl https://api.telegram.org/bot` + bot + `/getMe`, []string{"AA" + chance[:33]}},
	{`mysql -uroot -phunter2 db -e 'select 1'`, []string{"hunter2"}},
	{`mysql -u root -p'hunter 2' db`, []string{"hunter 2"}},
	{`docker exec db mysqldump -uroot -phunter2 --all-databases > x.sql`, []string{"hunter2"}},
	{`ssh host 'mysql -phunter2 db < x.sql'`, []string{"hunter2"}},
	{`sudo sh -c "mysql -phunter2 -e 'show tables'"`, []string{"hunter2"}},
	{`sshpass -p hunter2 ssh -p 22 me@host`, []string{"hunter2"}},
	{`sshpass -phunter2 ssh me@host`, []string{"hunter2"}},
	{`redis-cli -h host -a hunter2 ping`, []string{"hunter2"}},
	{`ldapsearch -x -D cn=me -w hunter2 -b dc=x`, []string{"hunter2"}},
	{`smbclient //h/s -U me%hunter2`, []string{"hunter2"}},
	{`mongosh -u me -p hunter2 host/db`, []string{"hunter2"}},
	{`zip -P hunter2 a.zip a`, []string{"hunter2"}},
	{`7z a -phunter2 a.7z a`, []string{"hunter2"}},
	{`lftp -u me,hunter2 host`, []string{"hunter2"}},
	{`htpasswd -b -c file me hunter2`, []string{"hunter2"}},
	{`openssl rsa -in k.pem -passin pass:hunter2 -out o.pem`, []string{"hunter2"}},
	{`gpg --batch --passphrase hunter2 -c f`, []string{"hunter2"}},
	{`psql postgres://me:hunter2@db.example.org:5432/app`, []string{"hunter2"}},
	{`psql "host=h user=me password=hunter2 dbname=x"`, []string{"hunter2"}},
	{`PGPASSWORD=hunter2 psql -h h`, []string{"hunter2"}},
	{`redis-cli -u redis://:hunter2@host:6379/0`, []string{"hunter2"}},
	{`git clone https://` + chance + `@example.org/a.git`, []string{chance}},
	{`mongosh 'mongodb+srv://me:p%40ss/w0rd@c.example.org/x'`, []string{"p%40ss/w0rd"}},
	{`aws configure set aws_secret_access_key ` + awsKey, []string{awsKey}},
	{`AWS_ACCESS_KEY_ID=` + akia + ` AWS_SECRET_ACCESS_KEY=` + awsKey + ` aws s3 ls`, []string{akia, awsKey}},
	{`printf '%s\n%s\n' ` + akia + " " + awsKey + ` | aws configure`, []string{akia, awsKey}},
	{`az storage blob list --account-key ` + azure, []string{azure}},
	{`export CONN="DefaultEndpointsProtocol=https;AccountName=a;AccountKey=` + azure + `;EndpointSuffix=x"`, []string{azure}},
	{`curl "https://a.blob.example.org/c?sv=2020&sig=` + chance + `%3D"`, []string{chance}},
	{`gcloud x --key ` + aiza, []string{aiza}},
	{`OPENAI_API_KEY=` + openai + ` python3 x.py`, []string{openai}},
	{`python3 -c 'client = C("` + openai + `")'`, []string{openai}},
	{`python3 -c 'connect(user="me", password="hunter2")'`, []string{"hunter2"}},
	{`twine upload -u __token__ --repository x ` + pypi, []string{pypi}},
	{`doctl auth init -t ` + ocean, []string{ocean}},
	{`huggingface-cli x ` + face, []string{face}},
	{`swaks --x ` + grid, []string{grid}},
	{`echo ` + slack + ` | x`, []string{slack}},
	{`x --jwt ` + jwt, []string{jwt}},
	{`cat > k <<E` + "\n" + pem + "\nE", []string{chance}},
	{`echo "` + pem[:120], []string{chance[:30]}},
	{`npm config set //registry.npmjs.org/:_authToken=` + npm, []string{npm}},
	{`npm config set //r.example.org/:_auth=` + chance, []string{chance}},
	{`git -c http.extraheader="AUTHORIZATION: bearer s3cr3tv" fetch`, []string{"s3cr3tv"}},
	{`kubectl create secret generic x --from-literal=password=hunter2`, []string{"hunter2"}},
	{`mvn -Dserver.password=hunter2 deploy`, []string{"hunter2"}},
	{`ansible-playbook --ask-pass -e "db_password=hunter2" site.yml`, []string{"hunter2"}},
	{`ngrok authtoken ` + chance, []string{chance}},
	{`http -a me:hunter2 example.org`, []string{"hunter2"}},
	{`wget --http-password=hunter2 --user=me x`, []string{"hunter2"}},
	{`X_SIGNING_KEY=s3cr3tv; echo don't`, []string{"s3cr3tv"}},
	{`MY_KEY=` + chance, []string{chance}},
	{`f() { TOKEN=s3cr3tv; }; f`, []string{"s3cr3tv"}},
	{`TOKEN=` + chance + ` sh -c 'curl https://x/` + chance + `'`, []string{chance}},
	{"a='PASSWORD=x1y2z3' \xff\xfe TOKEN=\xffabc", []string{"x1y2z3", "\xffabc"}},
	{`echo ` + age + ` | age -d -i - f`, []string{age}},
	{`x ` + notion + " " + brevo, []string{notion, brevo}},
	{`curl -b "session=s3cr3tv" https://example.org`, []string{"s3cr3tv"}},
	{`curl -sb 'a=s3cr3tv; b=hunter2' x`, []string{"s3cr3tv", "hunter2"}},
	{`curl -E cert.pem:hunter2 https://example.org`, []string{"hunter2"}},
	{`curl --cert cert.pem:hunter2 x && curl --cert=cert.pem:s3cr3tv x`, []string{"hunter2", "s3cr3tv"}},
	{`gh auth login --with-token <<< s3cr3tv`, []string{"s3cr3tv"}},
	{`docker login -u me --password-stdin r.example.org <<<"hunter2"`, []string{"hunter2"}},
	{`echo hunter2 | docker login -u me --password-stdin r.example.org`, []string{"hunter2"}},
	{`printf '%s\n' 's3cr3t v' | tr -d x | gh auth login --with-token`, []string{"s3cr3t v"}},
	{`npm config set //r.example.org/:_authToken s3cr3tv`, []string{"s3cr3tv"}},
	{`vault login s3cr3tv`, []string{"s3cr3tv"}},
	{`vault login -no-print s3cr3tv >/dev/null`, []string{"s3cr3tv"}},
	{`ssh-keygen -t ed25519 -f k -N hunter2`, []string{"hunter2"}},
	{`ssh-keygen -qN 'hunter 2' -f k`, []string{"hunter 2"}},
	{`mosquitto_pub -h host -u me -P hunter2 -t x -m y`, []string{"hunter2"}},
	{`mosquitto_sub -p 1883 -u me -P hunter2 -t x`, []string{"hunter2"}},
	{`sqlplus -s me/hunter2@db @x.sql`, []string{"hunter2"}},
	{`sqlplus me/hunter2@//host:1521/svc`, []string{"hunter2"}},
	{`plink -pw hunter2 me@host ls; pscp -P 22 -pw s3cr3tv a me@host:`, []string{"hunter2", "s3cr3tv"}},
	{`x --pwd hunter2`, []string{"hunter2"}},
	{`x --pwd=hunter2 y`, []string{"hunter2"}},
	{`x 'Server=h;Uid=me;Pwd=hunter2;'`, []string{"hunter2"}},
	{`isql -k "DRIVER=y;server=h;uid=me;pwd=hunter2"`, []string{"hunter2"}},
	{`xfreerdp /u:me /p:hunter2 /v:host`, []string{"hunter2"}},
}

// harmless are look-alikes.
var harmless = []string{
	"mkdir -p demo", "ssh -p 22 me@host", "cp -u a b", "git push -u origin main", "docker run -p 80:80 nginx", "docker login", "sort -u x | uniq",
	"ssh-keygen -t ed25519 -f k -N ''", "mysql -u root -p", "mysql -u root -p db", "mysql --port 3306 -h host", "curl -u me https://example.org",
	"curl -U me: x", `curl -u "$USER:$PASS" x`, `curl -H "Authorization: Bearer $TOKEN" x`, `curl -H 'Accept: application/json' x`,
	`curl --cookie-jar jar.txt -b jar.txt --cookie c.txt x`, "git commit -m 'fix password reset'", "git log --author=me --format='%h %an'",
	"grep -rn password src", "grep -n 'token' lexer.go", "vim internal/token/token.go", "pass show mail", "compass watch", "cat /etc/passwd",
	"TOKEN=$(cat f) make", `TOKEN="$TOKEN" make`, "PASSWORD= make", "export PASSWORD", "read -s PASSWORD", "unset GITHUB_TOKEN", "echo $PASSWORD ${TOKEN}",
	"docker login --password-stdin -u me", "x --password-file f", "x --token-url https://example.org/t", "llm --max-tokens 4096 --num_tokens=12 x",
	"MAX_TOKENS=100 TOKENIZERS_PARALLELISM=false python3 x.py", "ansible-playbook --ask-become-pass -K site.yml", "gh auth login --with-token",
	"git clone git@github.com:a/b.git", "git clone ssh://git@github.com/a/b", "curl http://localhost:8080/a@b", "npm i @types/node@18",
	"go get example.org/x@v1.2.3", "cd /home/me/sk-learn && ls task-runner-with-a-very-long-name-2024", "PWD=/x OLDPWD=/y ls", "x --pwd /y",
	"sha256sum -c <<< 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  f'", "git show 916790e", "id=" + uuid, "x --id " + uuid,
	`jq '.token, .keys, .key' f.json`, "SSH_KEY=~/.ssh/id_ed25519 x", "x --key k.pem --cert c.pem", "sort -k 2 --key=3", "KEY=value make",
	"systemctl restart authelia", "author=me make", "x --secret id=npm,src=.npmrc", "DOCKER_BUILDKIT=1 docker build --secret id=npm .",
	`[ "$token" = x ] && [ $password == y ]`, "if (token == x) { y }", "std::token::Token::new()", "make token=", "az login", "zip -r a.zip a",
	"tar -C / -xpf a.tar", "unzip -p a.zip", "7z x a.7z", "kubectl get secret x -o yaml", "kubectl get secrets", "vault token lookup",
	"openssl rsa -passin env:PW -in k", "gpg --passphrase-fd 0", "x --password-store=basic", "apt-get install libpam-passwdqc",
	"--- PASS: TestFoo (0.00s)", "PASS", "ok pass: 3", "for t in token auth; do echo $t; done", "mongodump --port 1", "redis-cli -p 6379 -n 1 ping",
	`python3 -c 'print("password:", len(p))'`, "basic authentication: see docs", "cat monkey.key", "rsync -e 'ssh -p 22' a b:", "snmpwalk -v3 host",
	"PASSWORD_STORE_DIR=/x pass ls", "AWS_PROFILE=dev aws sts get-caller-identity", "http --auth-type=jwt x", "ldapsearch -W -x", "xoxo -a", "eyJust words",
	"curl -b cookies.txt x", "curl -b a.txt -c a.txt x", `curl -b "sid=$SID" x`, "curl -E cert.pem --cert c.pem x", "gh auth login --with-token < token.txt",
	"echo $TOKEN | docker login -u me --password-stdin r.example.org", "cat f | gh auth login --with-token", "echo done || docker login --password-stdin",
	"echo hello | wc -c; docker login --password-stdin", "npm config get //r.example.org/:_authToken", "npm config set //r.example.org/:_authToken ${T}",
	"vault login", "vault login -method=userpass username=me", "vault login -method userpass me", "vault login -", "ssh-keygen -l -f k", "mosquitto_sub -h host -p 1883 -t a/b",
	"sqlplus / as sysdba", "sqlplus /nolog @a/b.sql", "sqlplus me@db @a/b.sql", "plink -P 22 me@host", "x --pwd=/y", "x --pwd ./y", "cd x; pwd=here", "pwd=/y uid=1; x",
	"GIT_ASKPASS=/bin/true git fetch", "SSH_ASKPASS=ssh-askpass ssh h", "x --tokens-per-batch 4096", "MAX_TOKENS_PER_SECOND=100 x", "x --tokens-per-second=9",
	"gpg --export-secret-keys me", "gpg --list-secret-keys me", "make pass=1",
	"TOKEN=<your token> x", "TOKEN=*** x", "curl 'https://x/?token={{ token }}'", "x --token", "x --token --verbose",
}
