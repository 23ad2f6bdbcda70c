<?php

declare(strict_types=1);

namespace Makegood;

/** Reads what comes from an environment or a config file: whole, trimmed, or refused by name. No error quotes a value. */
final class Settings
{
    private const BLANKS = " \t\n\r\f\v";
    private const URL = '{\Ahttps?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(/[A-Za-z0-9._~!$&\'()*+,;=:@%/-]*)?\z}i';

    /**
     * One secret, or several during a rotation: a list, or one string with commas between them.
     *
     * @return list<string> without blanks around each
     * @throws ConfigurationError a blank one, none at all, or something else
     */
    public static function secrets(#[\SensitiveParameter] mixed $secrets): array
    {
        $named = 'secrets (MAKEGOOD_SIGNING_SECRET)';
        $kept = [];
        foreach (is_string($secrets) ? [$secrets] : (is_iterable($secrets) ? $secrets : [null]) as $secret) {
            if (!is_string($secret)) {
                throw new ConfigurationError("$named must be a string or a list of strings: is the variable set?");
            }
            foreach (explode(',', $secret) as $part) {
                $kept[] = self::credential($part, $named);
            }
        }
        if ($kept === []) {
            throw new ConfigurationError("$named must hold at least one signing secret");
        }
        return $kept;
    }

    /** @throws ConfigurationError it cannot be a header's value */
    public static function credential(#[\SensitiveParameter] mixed $text, string $named): string
    {
        if (!is_string($text)) {
            throw new ConfigurationError("$named must be a string: is its variable set?");
        }
        $trimmed = trim($text, self::BLANKS);
        if ($trimmed === '' || $trimmed === 'whsec_') {
            throw new ConfigurationError("$named must not be blank: is its variable set, with no comma too many?");
        }
        if (!preg_match('/\A[\x21-\x7e]+\z/', $trimmed)) {
            throw new ConfigurationError("$named must be printable ASCII without blanks or line breaks");
        }
        return $trimmed;
    }

    /** @throws ConfigurationError it is no address that calls can go to */
    public static function baseUrl(#[\SensitiveParameter] mixed $text): string
    {
        $url = self::credential($text, 'baseUrl (MAKEGOOD_URL)');
        $isUrl = preg_match(self::URL, $url, $parts) === 1;
        $host = $parts[1] ?? '';
        $port = (int) (($parts[2] ?? '') === '' ? 443 : $parts[2]);
        if (!$isUrl || $port < 1 || $port > 65535 || !self::isHost($host)) {
            throw new ConfigurationError(
                'baseUrl (MAKEGOOD_URL) must be http:// or https:// with a host, without user, query or fragment'
            );
        }
        return rtrim($url, '/');
    }

    /** Whether it is an address in full, or may be a name. What ends in a number is no name. */
    private static function isHost(string $host): bool
    {
        if (str_starts_with($host, '[')) {
            return filter_var(substr($host, 1, -1), FILTER_VALIDATE_IP, FILTER_FLAG_IPV6) !== false;
        }
        $labels = explode('.', preg_replace('/\.\z/', '', $host));
        if (preg_match('/\A(?:[0-9]+|0x[0-9a-f]*)\z/i', end($labels))) {
            return filter_var($host, FILTER_VALIDATE_IP, FILTER_FLAG_IPV4) !== false;
        }
        foreach ($labels as $label) {
            if ($label === '' || strlen($label) > 63) {
                return false;
            }
        }
        return strlen($host) <= 253;
    }
}
